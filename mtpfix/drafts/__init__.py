"""A folder that an engine loads the draft from alone, beside the target model."""
