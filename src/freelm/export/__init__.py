"""Writing a trained model in the forms that others take: a stock folder, a release."""
