"""The summarization task: articles, prompts, corruptions, training, generation, ROUGE.

Knows nothing of circuits.
"""
