"""The smallest experiment there can be, as files."""

import yaml

CLIMATE = {
    "synthesize": {
        "height": 24,
        "width": 36,
        "num_snapshots": 48,
        "step_hours": 6,
        "optional_fields": False,
    },
    "prepare": {
        "channels": ["TMQ", "PSL"],
        "split_fractions": [0.6, 0.2, 0.2],
        "block_days": 1,
        "gap_hours": 0,
    },
}

EXPERIMENT = {
    "question": "Does it run?",
    "climate": "tiny_climate",
    "train": {
        "batch_size": 2,
        "num_steps": 2,
        "schedule": {"warmup_steps": 1},
        "validation": {"interval": 1},
    },
    "arms": {"plain": None, "one channel": {"prepare": {"channels": ["TMQ"]}}},
}


def write_experiment(folder, name="tiny", made_of=None, **changes):
    """Write an experiment and its climate; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {k: v for k, v in (EXPERIMENT | changes).items() if v is not None}
    (folder / "tiny_climate.yaml").write_text(yaml.safe_dump(made_of or CLIMATE))
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / f"{name}.yaml"
