"""Any network on any images: where pairs come from, how they are estimated, what is written."""
