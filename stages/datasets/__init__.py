"""Labelled road images: public sets read by path, boxes made from masks, random training crops."""
