"""The screen stage: a patch classifier in front of the detector, which spares it road without cracks."""
