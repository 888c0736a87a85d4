"""What a person sees of one decision."""
