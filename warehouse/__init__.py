"""What we publish: table models, the indicator catalogue, SQL views, building and swapping a release."""
