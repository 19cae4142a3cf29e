"""Do the tests bite? Each mutation takes one safeguard out of the product; a named test must then fail.

`make mutations` applies them one by one to a copy of the tree and runs what each of them names. A mutation that nothing
catches is a hole in the tests, one whose text is not found any more a hole in this list (tests/mutations/test_list.py).
"""
