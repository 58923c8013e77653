"""What every stage uses: parameters, paths, figures."""
