"""Names that people know from other projects, on top of neuralinv."""
