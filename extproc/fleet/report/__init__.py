"""A plan as people and scripts read it: an HTML page that stands alone, tables for a terminal, JSON.

Shows values that others computed and decides nothing. What is missing is left out, never shown as NaN; the same plan
gives the same bytes.
"""
