"""Knobs for the state machine, as in ``pytest tests/slots --hypothesis-profile=thorough``."""

import hypothesis

# Many thousands of examples, other ones each time.
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=20_000)
# To know whether it fails, and not in how few steps.
hypothesis.settings.register_profile(
    "unshrunk", deadline=None, phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate]
)
