"""Evaluation: error rates of hypotheses, and options of the decoder that are chosen on a dev set.

In: references and hypotheses by utterance id, or a recogniser and a dev set. Out: word and character error rates with
confidence intervals, reports and plots; tuned scales and penalties; the calibration of confidences.
"""
