"""What train.py and predict.py run on: batches, epochs, schedules, run folders, weights, inference."""
