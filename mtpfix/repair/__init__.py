"""From what is wrong to an edit that is right, and to the file."""
