"""What componentize-py makes a component of."""

from gauntlet.component import component
from policy import MyPolicy

WitWorld = component(MyPolicy)
