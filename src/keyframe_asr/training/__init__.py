"""Training: one loop that runs whatever list of stages the recipe gives."""
