"""The second stage: CrackSeg, run only inside the regions the first stage found."""
