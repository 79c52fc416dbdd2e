"""The zoo's networks: one file a family, put together from the parts in `flowzoo.blocks`."""
