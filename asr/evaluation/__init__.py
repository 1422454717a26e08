"""Hypotheses and references -> error rates, reports and plots; dev sets -> tuned scales and calibrated confidences."""
