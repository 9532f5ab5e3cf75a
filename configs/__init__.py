"""Typed configuration: one dataclass module per config group, no logic. `register` puts them into Hydra's ConfigStore."""
