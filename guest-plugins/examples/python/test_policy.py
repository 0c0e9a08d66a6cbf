"""A policy is an ordinary class, so `python3 -m unittest` tests it as one; `gauntlet plugin test` asks the component."""

import unittest

from gauntlet import Context, Series
from policy import MyPolicy


class TheHouseRules(unittest.TestCase):
    def test_the_cluster_takes_the_place_of_the_replica(self):
        policy = MyPolicy({"cluster": "setsuna"}, Context("kazusa", ["main"]))
        series = Series({"__name__": "http_requests_total", "replica": "0"})
        policy.relabel(series)
        self.assertEqual(series, {"__name__": "http_requests_total", "cluster": "setsuna"})
