"""A patient's scan and tumour in, the predicted post-operative volume out, with everything that it was made from."""
