import unittest

from expressions import filled, series


class Expressions(unittest.TestCase):
    def test_an_expression_names_its_series_and_nothing_else_does(self):
        for expression, names in {
            'slo:bad:ratio_rate1h{slo_name="a\\"} or b{c=\\"d"} / 0.001': {"slo:bad:ratio_rate1h"},
            "sum by (a, le) (rate(b_total[5m]))": {"b_total"},
            "(sum by (a) (x) or 0 * sum by (a) (y)) / (z > 1e3)": {"x", "y", "z"},
            'histogram_quantile(0.99, sum by (le) (rate(b_bucket{job=~".*"}[10s])))': {"b_bucket"},
        }.items():
            with self.subTest(expression):
                self.assertEqual(series(expression), names)

    def test_variables_stand_for_everything(self):
        self.assertEqual(filled('x{job=~"$job",pipeline=~"$pipeline"}[$__rate_interval]'), 'x{job=~".*",pipeline=~".*"}[10s]')
        with self.assertRaisesRegex(AssertionError, "a variable more"):
            filled("x{a=$jobs}")


if __name__ == "__main__":
    unittest.main()
