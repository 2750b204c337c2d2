"""From the journal to the result of a survey, recording by recording and in several processes."""
