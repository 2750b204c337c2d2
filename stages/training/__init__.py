"""Training of the nets with pytorch-lightning: resumable, reproducible from its saved configuration."""
