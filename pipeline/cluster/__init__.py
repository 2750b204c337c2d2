"""The frames of a survey on several machines, by Ray (extra `ray`).

Ray starts processes and brings messages; it is asked for nothing else. A frame goes out as its description, the worker
reads the picture and writes the mask on storage that all machines share, and its row comes back. The journal is written
by the process that runs the survey, as on one machine, so the journal is the truth whatever happens to the cluster.
"""
