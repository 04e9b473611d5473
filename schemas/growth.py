"""The reference tables. (Filled in with their sources by the reporting part.)"""
