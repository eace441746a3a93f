"""What any reader may ask of a recorded graph.

To be read in this order: ``walk`` (what a tensor was computed from, and who uses it), ``evaluate`` (values of nodes),
``graph`` (all that some outputs were computed from), ``trace`` (a function as a graph), ``replay`` (a traced graph
recorded anew with values), ``timeline`` (what is one quantity at different time steps).
"""

from .graph import Graph, graph
from .trace import trace

__all__ = ["Graph", "graph", "trace"]
