"""Training: optimizer groups, a thin ``transformers.Trainer``, pretraining and fine-tuning."""
