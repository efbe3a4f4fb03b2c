"""A page of interactive curves and tables in one file that fetches nothing: what ``compare`` and ``report`` write.

The curves are drawn by uPlot 1.6.32 (MIT), which lies in ``assets`` as it was published to npm; a test holds its digest.
51 kB, no dependencies, quick with a hundred curves. The Python packages that carry a plotting library carry one of megabytes.
"""
