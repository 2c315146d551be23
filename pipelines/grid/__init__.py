"""The grid: methods and frame counts compared at one budget, on the same questions and features."""
