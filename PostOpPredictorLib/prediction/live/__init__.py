"""A patient held ready: a plan and a slice go in, the predicted slice comes out at once and the volume soon after."""
