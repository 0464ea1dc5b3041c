"""How far CFCA looks, for those that must be light: nothing of torch is imported."""

CONTEXT_KEYFRAMES = 2  # on each side of the keyframe before an instant
