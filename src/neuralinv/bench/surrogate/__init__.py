"""Can networks replace the smoother? Learned factors and solves beside exact ones, in the Lorenz example."""
