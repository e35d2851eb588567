"""dots.note 3."""
