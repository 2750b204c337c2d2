"""What a pixel is on the road: errors, frames, ground plane, track. Imports neither torch nor click."""
