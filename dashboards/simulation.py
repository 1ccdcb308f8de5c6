"""The saved rehearsals, in a browser: panel serve dashboards/simulation.py --address 127.0.0.1 --port 3001."""

from phase4.dashboard.views import simulation

simulation().servable()
