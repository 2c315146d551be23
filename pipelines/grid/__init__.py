"""The grid: methods and frame counts at one budget, on the same questions, from the same features."""
