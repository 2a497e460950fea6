"""FiftyOne in and out: samples and labels are read here, fields and registered runs are written here."""
