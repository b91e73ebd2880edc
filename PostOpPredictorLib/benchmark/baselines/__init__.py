"""The other systems of the paper's Table 1, one file each, views of the same slices on one U-Net builder."""
