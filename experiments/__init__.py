import avocado  # noqa: F401  before torch, whose threads it has settings for
