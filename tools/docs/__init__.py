"""The documentation: pages made from the code, and the commands of all pages run."""
