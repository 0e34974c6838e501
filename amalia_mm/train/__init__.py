"""LightningModules and what a training run needs around them."""
