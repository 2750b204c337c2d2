"""How good the nets are: one module per `crackmap evaluate` of a net (docs/evaluation.md)."""
