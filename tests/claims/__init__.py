"""Every figure that a text of the project states, and how it is measured; see ``__main__.py``."""
