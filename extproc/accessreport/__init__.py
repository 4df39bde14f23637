"""What access logs tell: what routing did, or would have done in shadow mode; reads lines, changes nothing.

The log is a sample: of most requests only the decision is known, of some the true length. Shares that rest on those are
weighted and have an interval.
"""
