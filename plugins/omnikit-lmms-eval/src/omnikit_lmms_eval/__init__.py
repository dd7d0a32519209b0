"""Systems of omnikit as a model of lmms-eval."""
