"""What train.py and predict.py run on: batches, schedules, checkpoints, inference."""
