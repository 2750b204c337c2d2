"""The first stage: where cracks may be, found by RetinaNet at reduced scale."""
