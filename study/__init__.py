"""The analyses of a study, a folder a stage: numbers, words, figures."""
