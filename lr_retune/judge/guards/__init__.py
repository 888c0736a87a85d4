"""Guards: what a better loss can hide. They stop a promotion on demonstrated harm, never on a lack of proof."""
