"""What a network costs: parameters, zeros, multiply-accumulates."""
